"""How well predictors fit where people looked; needs no torch."""
