"""The network that tests may download from."""

from ipaddress import ip_network

LOOPBACK = (ip_network("127.0.0.0/8"),)
