"""The replicated session store, as plain values: no clock, no chance, no input or output of its own."""
