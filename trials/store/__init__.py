"""What becomes of sessions when real nodes are lost, cut from each other, come back, or hold a million of them."""
