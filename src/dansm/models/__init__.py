"""Networks and autoencoders, by preset, all from diffusers."""
