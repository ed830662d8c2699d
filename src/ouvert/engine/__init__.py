"""Tokens in, tokens out. May import models, kernels, arithmetic and weights."""
