"""What every room needs and none owns: errors, seeds, atomic files, where data lies."""
