"""The networks: ConvLSTM, U-Nets, generator and critic (flax linen)."""
