import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores; threads of one waiting for those of another cost more than they bring. Said here, before
    # NumPy and torch are loaded, which look once; processes that tests start inherit it.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
