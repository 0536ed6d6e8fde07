"""What the CUDA kernels should take, worked out from their compiled code. README.md is the map."""
