"""How requests come in, and how answers go out. Surfaces decide nothing."""
