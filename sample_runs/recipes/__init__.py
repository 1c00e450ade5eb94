"""What the samples' recipes share. Their training scripts need none of it but the digits."""
