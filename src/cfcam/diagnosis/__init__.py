"""What is wrong with a network, an input and a question, and what to change: `cfcam.diagnose`, ``cfcam doctor``."""
