"""One module per step of the pipeline: plan, extract, gather, pretrain, evaluate, report."""
