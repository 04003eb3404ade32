"""Components of what a layer does: its channels together, not one by one."""
