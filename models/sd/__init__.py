"""Released picture models with a UNet (SD-Turbo, LCM SD 1.5), run as a stream batch.

The networks are those of diffusers and transformers, unchanged; the noise levels, the guidance, the
stream batch, LoRA and the conditions around them are written here.
"""
