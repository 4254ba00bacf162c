"""Images to outcomes: checks each image and has it classified."""
