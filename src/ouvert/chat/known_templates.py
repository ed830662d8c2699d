"""Templates that have been read by us and run within the sandbox's bounds: they need no process of their own.

SHA-256 of their text in UTF-8, and whose they are. Every other template is a stranger's.
"""

from collections.abc import Mapping

KNOWN_TEMPLATES: Mapping[str, str] = {
    "50b9891c87ae99bd9fc48abb2291baecf5642545411cce827e8e89a7ac4af143": "builtin chatml",
    "200cfdc2f963d8d00748f60a272459a281abb09b7e5a242589c1ddba6e9153b6": "builtin deepseek",
    "25b7c928abff81105685b3cf9534094b1b4e1824cc677cc6f84f2387d9b76eee": "builtin deepseek31",
    "11f320ed87c9b80f2ae979c06a2f8f0cabcbea7d6e62c72f6d9caf2c1e18bea8": "builtin kimi",
    "5111c57ecc27466c905243df55b84c5d6604f7a7495502961e3de43d5684f4df": "builtin llama3",
    "d633504ccd8b6cbc8a2b5ba6ebb5de2c1da653f7d8d08817f80901e514d2324d": "builtin mistral",
    "66b4175f461ffe60ddbdd0571579117476096c3c7511715dfdba0fe7aa0da16f": "builtin mistral-v3",
    "d5495a1e5db0611132a97e46a65dbb64a642a499421228b9c8b93229097fa9a4": "Qwen2.5 and Qwen2.5-Coder Instruct",
    "872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788": "SmolLM2 Instruct",
}
