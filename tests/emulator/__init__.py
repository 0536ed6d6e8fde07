"""The stand-in for the CUDA runtime that lets the CUDA kernels run, and be tested, on the host."""
