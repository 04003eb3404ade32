"""What a network returns: which tensor of it is explained, and whether it holds logits or probabilities."""
