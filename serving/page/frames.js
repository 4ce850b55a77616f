// Frames: the picture that a video element shows, shrunk to a JPEG file.

/** Return the frame that a video shows as a JPEG whose longer side has at most `longest` pixels. */
export function takeFrame(video, canvas, longest) {
  const scale = Math.min(1, longest / Math.max(video.videoWidth, video.videoHeight));
  canvas.width = Math.max(1, Math.round(video.videoWidth * scale));
  canvas.height = Math.max(1, Math.round(video.videoHeight * scale));
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => {
    const done = (blob) =>
      blob ? resolve(blob) : reject(new Error("The browser could not write the frame as a JPEG."));
    canvas.toBlob(done, "image/jpeg", 0.85);
  });
}
