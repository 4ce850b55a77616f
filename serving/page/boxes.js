// Boxes: how much two of them share, and where a panel hides least. A box has x, y, width and height.

/** Return the area that two boxes share. */
export function shared(one, other) {
  const width = Math.min(one.x + one.width, other.x + other.width) - Math.max(one.x, other.x);
  const height = Math.min(one.y + one.height, other.y + other.height) - Math.max(one.y, other.y);
  return Math.max(0, width) * Math.max(0, height);
}

/** Return the shared area of two boxes over the area that they cover together, 0 to 1. */
export function overlap(one, other) {
  const both = shared(one, other);
  const covered = one.width * one.height + other.width * other.height - both;
  return covered > 0 ? both / covered : 0;
}

/**
 * Return where a panel of `size` beside `frame` covers least of the `others` and of the frame itself.
 * It lies inside `bounds`, a width and a height, wherever it is small enough.
 */
export function placeBeside(frame, size, bounds, others) {
  const right = frame.x + frame.width + 4;
  const left = frame.x - size.width - 4;
  const below = frame.y + frame.height + 4;
  const above = frame.y - size.height - 4;
  const corners = [
    [right, frame.y],
    [left, frame.y],
    [frame.x, below],
    [frame.x, above],
    [right, frame.y + frame.height - size.height],
    [left, frame.y + frame.height - size.height],
  ];
  const places = corners.map(([x, y]) => ({
    x: Math.max(0, Math.min(x, bounds.width - size.width)),
    y: Math.max(0, Math.min(y, bounds.height - size.height)),
    ...size,
  }));
  const cost = (place) => shared(place, frame) + others.reduce((sum, other) => sum + shared(place, other), 0);
  return places.reduce((best, place) => (cost(place) < cost(best) ? place : best));
}

/** Return a box of a picture of `from` pixels in a picture of `to` pixels, mirrored left to right or not. */
export function scaled(box, from, to, mirrored = false) {
  const across = to.width / from.width;
  const down = to.height / from.height;
  const x = mirrored ? from.width - box.x - box.width : box.x;
  return { x: x * across, y: box.y * down, width: box.width * across, height: box.height * down };
}
