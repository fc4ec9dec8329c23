"""Step 6: who may agree to what, until when; bound to one plan digest and used once."""
