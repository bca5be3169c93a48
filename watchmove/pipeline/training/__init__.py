"""What pretraining and detector training share: checkpoints, ranks and reading ahead."""
