"""A media file as a clip: frames at a fixed rate and sound, on one time axis.

The path of a file: `read` checks the arguments, `probe` records its tracks and the times of their
packets, `frames` and `sound` decode, `film` joins both in a `Clip`. `still` reads images.

decord decodes frames where the record proves that it shows the right ones; PyAV decodes all else,
and the sound. Damage is found where a packet, an index or a header shows it. It is not found where
every value is possible: changed samples of a wav, changed pixels of a GIF.
"""
