"""What learning methods share: networks, with and without torch, and checkpoints. Needs the extra `learn`."""
