"""Networks that find objects: their outputs as boxes with scores."""
