"""What is wrong with arguments, told before anything heavy is imported."""
