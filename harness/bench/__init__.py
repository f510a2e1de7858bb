"""What `ext4diff bench` measures: the model on recordings, guests, images, the generator."""
