"""Two kernels in versions, from the obvious one to the library's: docs/kernels.md tells of them."""
