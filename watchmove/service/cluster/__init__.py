"""Workflows on a cluster through the Kubernetes API and Argo's server."""
