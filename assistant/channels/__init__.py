"""How a call gets in: SIP, the computer's microphone, the text console."""
