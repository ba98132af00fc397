"""The U-Net (openaimodel) and the autoencoder's encoder and decoder (model)."""
