"""Proximal policy optimisation: a critic spreads each score over the tokens, the clip keeps the steps small."""
