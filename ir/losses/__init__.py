"""The loss functions of lossc, each a short function over values."""
