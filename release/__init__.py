"""Making a release, `make release`: manifests, a Helm chart, and lists of what the images contain."""
