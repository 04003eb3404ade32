"""What cfcam is installed from: versions locked by hash, their bill of materials, what is known against them."""
