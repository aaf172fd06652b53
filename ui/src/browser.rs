//! The few things asked of the browser itself: time, zone, storage, clipboard, downloads, and where panics go.

use leptos::prelude::{document, window};
use viz::scale::floor;
use viz::time_axis::Zone;
use wasm_bindgen::prelude::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

/// Milliseconds since the epoch by the browser's clock.
pub(crate) fn now_ms() -> i64 {
    floor(js_sys::Date::now())
}

/// Offset of local time from UTC at an instant, ms.
fn offset_ms(at_ms: i64) -> i64 {
    let date = js_sys::Date::new(&JsValue::from_f64(at_ms as f64));
    -floor(date.get_timezone_offset()) * 60_000
}

/// The browser's zone over a range; a clock change inside is found by bisection.
pub(crate) fn zone(from_ms: i64, to_ms: i64) -> Zone {
    let mut offsets = vec![(i64::MIN, offset_ms(from_ms))];
    let mut from_ms = from_ms;
    // Steps of 60 days are short enough to hold at most one change.
    while from_ms < to_ms && offsets.len() < 64 {
        let next_ms = to_ms.min(from_ms + 60 * 86_400_000);
        if offset_ms(next_ms) != offset_ms(from_ms) {
            let (mut before, mut after) = (from_ms, next_ms);
            while after - before > 1_000 {
                let middle = before + (after - before) / 2;
                if offset_ms(middle) == offset_ms(from_ms) {
                    before = middle
                } else {
                    after = middle
                }
            }
            offsets.push((after - after.rem_euclid(1_000), offset_ms(next_ms)));
        }
        from_ms = next_ms;
    }
    Zone::new(offsets)
}

/// The zone around one instant.
pub(crate) fn zone_at(at_ms: i64) -> Zone {
    Zone::fixed(offset_ms(at_ms))
}

/// A setting kept by the browser; `None` when there is none or storage is forbidden.
pub(crate) fn stored(key: &str) -> Option<String> {
    window().local_storage().ok().flatten()?.get_item(&format!("headrope.{key}")).ok().flatten()
}

/// Keeps a setting; without storage it lasts as long as the page.
pub(crate) fn store(key: &str, value: &str) {
    if let Ok(Some(storage)) = window().local_storage() {
        drop(storage.set_item(&format!("headrope.{key}"), value));
    }
}

/// Puts text on the clipboard; says whether it could.
pub(crate) async fn copy(text: &str) -> bool {
    // On plain HTTP from another host browsers have no clipboard object at all.
    let clipboard = js_sys::Reflect::get(&window().navigator(), &"clipboard".into());
    let Some(clipboard) = clipboard.ok().filter(|value| !value.is_undefined()) else {
        return copy_selected(text);
    };
    let clipboard: web_sys::Clipboard = clipboard.unchecked_into();
    JsFuture::from(clipboard.write_text(text)).await.is_ok()
}

/// The way before there was a clipboard object: select in a field, copy by command.
fn copy_selected(text: &str) -> bool {
    let Ok(field) = document().create_element("textarea") else { return false };
    let field: web_sys::HtmlTextAreaElement = field.unchecked_into();
    field.set_value(text);
    let Some(body) = document().body() else { return false };
    if body.append_child(&field).is_err() {
        return false;
    }
    field.select();
    let command = js_sys::Reflect::get(&document(), &"execCommand".into());
    let copied = command.ok().and_then(|f| f.dyn_into::<js_sys::Function>().ok());
    let copied = copied.and_then(|f| f.call1(&document(), &"copy".into()).ok());
    field.remove();
    copied.is_some_and(|done| done.is_truthy())
}

/// Offers text as a file to save.
pub(crate) fn download(name: &str, media_type: &str, text: &str) {
    let options = web_sys::BlobPropertyBag::new();
    options.set_type(media_type);
    let parts = js_sys::Array::of1(&JsValue::from_str(text));
    let Ok(blob) = web_sys::Blob::new_with_str_sequence_and_options(&parts, &options) else {
        return;
    };
    let Ok(url) = web_sys::Url::create_object_url_with_blob(&blob) else { return };
    if let Ok(link) = document().create_element("a") {
        let link: web_sys::HtmlAnchorElement = link.unchecked_into();
        link.set_href(&url);
        link.set_download(name);
        link.click();
    }
    drop(web_sys::Url::revoke_object_url(&url));
}

/// Whether the tab is in the background.
pub(crate) fn hidden() -> bool {
    document().hidden()
}

/// Puts the focus on the first element that matches; says whether there was one.
pub(crate) fn focus(selector: &str) -> bool {
    let found = document().query_selector(selector).ok().flatten();
    let found = found.and_then(|element| element.dyn_into::<web_sys::HtmlElement>().ok());
    found.is_some_and(|element| element.focus().is_ok())
}

/// Removes what `index.html` shows until the program runs.
pub(crate) fn drop_skeleton() {
    if let Some(skeleton) = document().get_element_by_id("skeleton") {
        skeleton.remove();
    }
}

/// Sends panics to the console, and shows an overlay that keeps the URL and offers to start anew.
pub(crate) fn report_panics() {
    std::panic::set_hook(Box::new(|info| {
        console_error_panic_hook::hook(info);
        drop(overlay(&info.to_string()));
    }));
}

fn overlay(report: &str) -> Result<(), JsValue> {
    let page = document();
    if page.query_selector(".overlay")?.is_some() {
        return Ok(()); // The first panic is the cause; later ones follow from it.
    }
    let overlay = page.create_element("div")?;
    overlay.set_class_name("overlay");
    overlay.set_attribute("role", "alertdialog")?;
    let text = page.create_element("pre")?;
    text.set_text_content(Some(&format!(
        "{}\n\n{report}",
        crate::msg::t(crate::msg::Msg::Panicked)
    )));
    let again = page.create_element("a")?;
    again.set_class_name("button primary");
    again.set_attribute("href", &window().location().href()?)?;
    again.set_text_content(Some(crate::msg::t(crate::msg::Msg::Reload)));
    overlay.append_child(&text)?;
    overlay.append_child(&again)?;
    page.body().map_or(Ok(()), |body| body.append_child(&overlay).map(drop))
}
