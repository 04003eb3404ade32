"""Companions at the resolution of the input: what each of its places says, by gradients that go all the way."""
