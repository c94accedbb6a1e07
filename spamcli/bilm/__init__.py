"""The bidirectional language model itself (Peters et al. 2018, section 3): layers, model, pretraining, export."""
