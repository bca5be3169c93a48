"""Starting and observing workflows on a cluster, through the Kubernetes API or Argo's server."""
