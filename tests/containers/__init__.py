"""The example in real containers: its image, its Compose file and its Kubernetes manifests.

``make test-containers`` runs them; ``make test`` leaves them out. They need root and Debian's
podman, and no engine that runs already: images, containers and networks are in a storage of
their own, which goes in the end. No image is pulled: the base is made of Debian packages.
"""
