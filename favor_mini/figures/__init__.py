"""Figures of the notebooks, the demo and the lab."""

import atexit
import os
import shutil
import tempfile

# numba, which librosa needs, keeps compiled code next to librosa or in the home folder. Where
# neither can be written, importing librosa fails.
if not os.access(os.path.expanduser("~"), os.W_OK) and not os.environ.get("NUMBA_CACHE_DIR"):
    os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(prefix="favor-mini-numba-")
    atexit.register(shutil.rmtree, os.environ["NUMBA_CACHE_DIR"], ignore_errors=True)
