"""What is there, what is new and what is left to do: listing, change detection, work units."""
