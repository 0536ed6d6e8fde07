"""Small networks in the styles of the code that DARTS-family papers came with.

Written for the tests: they compute what such code computes and have its habits, in plain torch.
"""
