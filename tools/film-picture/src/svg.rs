//! An SVG file that needs nothing beside it.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::Result;
use crate::canvas::{Anchor, Area, Canvas, Drawing};
use crate::colour::Rgb;
use crate::png::encode;

struct Svg(String);

/// Draws the picture into the text of an SVG file.
///
/// # Errors
/// If its cells cannot be encoded.
pub fn draw(picture: &impl Drawing) -> Result<String> {
    let (width, height) = picture.size();
    let mut svg = Svg(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    ));
    picture.draw(&mut svg)?;
    svg.0.push_str("</svg>\n");
    Ok(svg.0)
}

impl Svg {
    /// Writing into a string cannot fail.
    fn push(&mut self, element: std::fmt::Arguments) {
        let _ = self.0.write_fmt(element);
        self.0.push('\n');
    }
}

fn hex([red, green, blue]: Rgb) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

impl Canvas for Svg {
    fn cells(
        &mut self,
        Area { x, y, width, height }: Area,
        columns: usize,
        colours: &[Rgb],
    ) -> Result<()> {
        let data =
            STANDARD.encode(encode(columns, colours.len() / columns, colours.as_flattened())?);
        self.push(format_args!(
            "<image x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" \
             preserveAspectRatio=\"none\" style=\"image-rendering:pixelated\" \
             href=\"data:image/png;base64,{data}\"/>"
        ));
        Ok(())
    }

    fn frame(&mut self, Area { x, y, width, height }: Area, colour: Rgb) {
        let stroke = hex(colour);
        self.push(format_args!(
            "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" \
             fill=\"none\" stroke=\"{stroke}\"/>"
        ));
    }

    fn line(&mut self, points: &[(f64, f64)], colour: Rgb) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.2},{y:.2}")).collect();
        let stroke = hex(colour);
        self.push(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{stroke}\"/>",
            points.join(" ")
        ));
    }

    fn text(&mut self, x: f64, y: f64, anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        // XML has no place for these, not even escaped.
        let text = text.replace(
            |character: char| {
                character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}')
            },
            "\u{fffd}",
        );
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        self.push(format_args!(
            "<text x=\"{x:.2}\" y=\"{y:.2}\" text-anchor=\"{anchor}\" dominant-baseline=\"central\" \
             fill=\"#222222\">{text}</text>"
        ));
    }
}
