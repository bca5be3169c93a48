"""AlexNet and ResNet trunks, their initial weights, and other projects' layouts of weights."""
