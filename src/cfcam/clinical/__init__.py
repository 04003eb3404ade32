"""Floor 4: the clinical side. Research use only; not a medical device."""
