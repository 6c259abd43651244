"""What runs in other libraries' environments (`make peers-training`): it imports nothing of this project."""
