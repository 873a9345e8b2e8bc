"""Old addresses. Nothing inside zoo imports them."""
