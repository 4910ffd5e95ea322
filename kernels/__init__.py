"""Operations: tensors in, tensors out. Each op has a PyTorch reference that defines it."""
