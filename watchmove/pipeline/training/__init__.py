"""What trainings are made of besides their networks: checkpoints, ranks and reading ahead."""
