"""Tensor functions only: log-probabilities, masked means, KL estimators, advantages."""
