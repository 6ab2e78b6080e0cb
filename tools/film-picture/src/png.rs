//! A PNG file, at two pixels a unit.

use embedded_graphics::Drawable;
use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::iso_8859_1::FONT_10X20;
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use embedded_graphics::primitives::{Line, Primitive, PrimitiveStyle};
use embedded_graphics::text::{Alignment, Baseline, Text, TextStyleBuilder};

use crate::canvas::{Anchor, Area, Canvas, Drawing};
use crate::colour::{BLACK, Rgb, WHITE, colour};
use crate::{Error, Result};

/// Pixels in a unit.
pub(crate) const SCALE: f64 = 2.0;

struct Bitmap {
    width: usize,
    height: usize,
    pixels: Vec<Rgb>,
}

/// Draws the picture into the bytes of a PNG file.
///
/// # Errors
/// If it does not fit into memory, or cannot be encoded.
pub fn draw(picture: &impl Drawing) -> Result<Vec<u8>> {
    let (width, height) = picture.size();
    let (width, height) = ((width * SCALE).ceil() as usize, (height * SCALE).ceil() as usize);
    let mut pixels = Vec::new();
    pixels.try_reserve_exact(width * height).map_err(|_| Error::Memory)?;
    pixels.resize(width * height, WHITE);
    let mut bitmap = Bitmap { width, height, pixels };
    picture.draw(&mut bitmap)?;
    encode(width, height, bitmap.pixels.as_flattened())
}

/// The bytes of a PNG file with a pixel for each value, in rows of `columns`, on the colour scale that ends at ±`limit`.
///
/// # Errors
/// If it cannot be encoded.
pub fn pixels(columns: usize, values: &[f64], limit: f64) -> Result<Vec<u8>> {
    let colours: Vec<Rgb> = values.iter().map(|value| colour(*value, limit)).collect();
    encode(columns, values.len() / columns.max(1), colours.as_flattened())
}

/// A PNG file of 8-bit RGB pixels.
pub(crate) fn encode(width: usize, height: usize, pixels: &[u8]) -> Result<Vec<u8>> {
    let side = |side: usize| u32::try_from(side).map_err(|_| Error::Memory);
    let failed = |error: png::EncodingError| Error::Encode(error.to_string());
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side(width)?, side(height)?);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(pixels).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

fn pixel(position: f64) -> i32 {
    (position * SCALE).round() as i32
}

fn ink([red, green, blue]: Rgb) -> Rgb888 {
    Rgb888::new(red, green, blue)
}

impl Canvas for Bitmap {
    fn cells(&mut self, area: Area, columns: usize, colours: &[Rgb]) -> Result<()> {
        let rows = colours.len() / columns;
        let (left, right) = (pixel(area.x), pixel(area.x + area.width));
        let (top, bottom) = (pixel(area.y), pixel(area.y + area.height));
        for y in top.max(0)..bottom.min(self.height as i32) {
            let row = ((y - top) as usize * rows / (bottom - top) as usize).min(rows - 1);
            for x in left.max(0)..right.min(self.width as i32) {
                let column =
                    ((x - left) as usize * columns / (right - left) as usize).min(columns - 1);
                self.pixels[y as usize * self.width + x as usize] = colours[row * columns + column];
            }
        }
        Ok(())
    }

    fn frame(&mut self, Area { x, y, width, height }: Area, colour: Rgb) {
        let (right, bottom) = (x + width, y + height);
        self.line(&[(x, y), (right, y), (right, bottom), (x, bottom), (x, y)], colour);
    }

    fn line(&mut self, points: &[(f64, f64)], colour: Rgb) {
        let style = PrimitiveStyle::with_stroke(ink(colour), 2);
        let point = |(x, y): (f64, f64)| Point::new(pixel(x), pixel(y));
        for pair in points.windows(2) {
            // Drawing into a bitmap cannot fail.
            let _ = Line::new(point(pair[0]), point(pair[1])).into_styled(style).draw(self);
        }
    }

    fn text(&mut self, x: f64, y: f64, anchor: Anchor, text: &str) {
        // The font has the characters of ISO 8859-1 alone.
        let text = &text.replace('…', "...");
        let alignment = match anchor {
            Anchor::Start => Alignment::Left,
            Anchor::Middle => Alignment::Center,
            Anchor::End => Alignment::Right,
        };
        let style = TextStyleBuilder::new().alignment(alignment).baseline(Baseline::Middle).build();
        let font = MonoTextStyle::new(&FONT_10X20, ink(BLACK));
        let _ = Text::with_text_style(text, Point::new(pixel(x), pixel(y)), font, style).draw(self);
    }
}

impl OriginDimensions for Bitmap {
    fn size(&self) -> Size {
        Size::new(self.width as u32, self.height as u32)
    }
}

impl DrawTarget for Bitmap {
    type Color = Rgb888;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(
        &mut self,
        pixels: I,
    ) -> std::result::Result<(), Self::Error> {
        for Pixel(Point { x, y }, colour) in pixels {
            let inside =
                x >= 0 && y >= 0 && (x as usize) < self.width && (y as usize) < self.height;
            if inside {
                self.pixels[y as usize * self.width + x as usize] =
                    [colour.r(), colour.g(), colour.b()];
            }
        }
        Ok(())
    }
}
