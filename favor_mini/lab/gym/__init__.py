"""The mechanism gym: train a connector alone, on streams of symbols, in about a minute.

No frozen encoder and no language model run here. Each time step shows one visual symbol and one
sound, as random vectors with noise. The registered synchronisation, windows, attention and
connector turn a clip into W * N vectors, and a small reader answers one question about it.
Connector and reader learn from the answers alone: no label tells a query what to output, and no
text tells the order of events.
"""
